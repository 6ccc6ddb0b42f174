export const createContext = () => ({});
export const useContext = () => null;
export default {};
